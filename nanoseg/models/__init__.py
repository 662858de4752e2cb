"""The networks in plain torch, with the state_dict keys under which their weights were published."""
