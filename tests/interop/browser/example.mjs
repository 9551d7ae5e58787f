// Examples as processes, on free ports.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

const START_LIMIT = 10_000;

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

export class Example {
  #path;
  #options;
  #child;
  url;

  static async start(name, options) {
    const example = new Example();
    example.#path = `${process.env.EXAMPLES}/${name}`;
    example.#options = options;
    await example.#listen("127.0.0.1:0");
    return example;
  }

  // Starts it again, at the same address.
  async again() {
    await this.#listen(new URL(this.url).host);
  }

  async kill() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }

  async #listen(address) {
    const child = spawn(this.#path, ["--listen", address, ...this.#options], { stdio: ["ignore", "ignore", "pipe"] });
    this.#child = child;
    running.add(child);
    child.once("exit", () => running.delete(child));
    this.url = await new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`${this.#path}: ${why}`));
      const timer = setTimeout(fail, START_LIMIT, "it does not listen");
      child.once("error", (error) => fail(error.message));
      child.once("exit", (status) => fail(`ended with status ${status}`));
      // The output is read to its end: a full pipe would block the example.
      createInterface({ input: child.stderr }).on("line", (line) => {
        const found = /listening on ((?:http|ws):\/\/\S+)/.exec(line);
        if (!found) return;
        clearTimeout(timer);
        resolve(found[1]);
      });
    });
  }
}
