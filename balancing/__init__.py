"""Which of many servers a call goes to: policies, who is fit, when a second server is asked. Values in, values out: it knows no calls, no
links and no clock; the client's machine tells it what happens and asks it.
"""
