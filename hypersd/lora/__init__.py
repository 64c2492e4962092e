"""LoRAs as people's files hold them: read whole or refused, merged by their own formula."""
