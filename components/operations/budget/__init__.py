"""The budget of a stack: alarms, notifications, and the freeze that denies new GPU instances."""
