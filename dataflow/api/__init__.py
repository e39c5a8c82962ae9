"""What every endpoint shares: strict parsing, one error shape, paging, who may, and the choice of page or JSON."""
