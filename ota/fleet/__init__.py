"""Fleet servers assign updates and hear how they went. What may be trusted is decided elsewhere (``ota/trust``)."""
