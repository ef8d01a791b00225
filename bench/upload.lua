-- wrk: requests with a body of 100 KB
wrk.method = "POST"
wrk.body = string.rep("x", 100000)
