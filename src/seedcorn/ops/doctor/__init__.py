"""What a store does when it is asked, and what that means."""
