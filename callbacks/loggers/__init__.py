"""What loggers are given besides numbers: `contracts` says what one may have, `adapters` fits Lightning's own."""
