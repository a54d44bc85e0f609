"""Tell the Palmer penguins apart by four measurements."""
