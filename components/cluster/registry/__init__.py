"""The registry of the runtime images. Building them is not done here."""
