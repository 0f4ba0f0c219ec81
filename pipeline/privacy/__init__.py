"""What differential privacy promises of an attack, and what attacks say of the promise."""
