"""The pages: one short FastAPI application per mode, which is what runs, is measured, and is pasted."""
