"""A Summary for people: one HTML page (`html.render`) and one terminal table (`terminal.table`)."""
