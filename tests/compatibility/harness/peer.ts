/**
 * A program that uses the original `lib/redis`. `peer publish` reads lines of {"channel", "update"}
 * and publishes each. `peer subscribe` writes {"subscribed": true}, then one line of
 * {"channel", "message"} per update. Both end with their input. Lines that do not begin with a brace
 * are log lines of the original code.
 */

import { createInterface } from "node:readline";
import { redisClient } from "@/lib/redis/client";
import { ServiceChannel, servicePubSub } from "@/lib/redis/pubsub";

const write = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
const lines = createInterface({ input: process.stdin });

if (process.argv[2] === "subscribe") {
  const { BALANCE_SYNC, ACCOUNT_DISCOVERY, ACCOUNT_ENRICHMENT } = ServiceChannel;
  await servicePubSub.subscribe([BALANCE_SYNC, ACCOUNT_DISCOVERY, ACCOUNT_ENRICHMENT], (channel, message) =>
    write({ channel, message }),
  );
  write({ subscribed: true });
}
for await (const line of lines) {
  const { channel, update } = JSON.parse(line);
  await servicePubSub.publishStatus(channel, update);
}
await redisClient.close();
