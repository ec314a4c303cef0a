"""From YAML to the policy table, with located errors; settings of the server."""
