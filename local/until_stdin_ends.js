// Terminates this process when its standard input ends: the process that opened it died, and nothing reads the output.
process.stdin.on("end", () => process.kill(process.pid, "SIGTERM")).resume().unref();
process.stdout.on("error", () => {});
