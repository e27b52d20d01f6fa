"""Mathematics only: products with vectors, or plain numbers, go in; numbers with an error bound come out."""
