"""The Files API: uploads, stored files and downloads."""
