"""The user study: which of two reconstructions do people prefer, with the original in sight?"""
