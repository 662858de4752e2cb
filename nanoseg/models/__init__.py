"""The networks in plain torch, with the state_dict keys of their published weights; needs `nanoseg[export]`."""
