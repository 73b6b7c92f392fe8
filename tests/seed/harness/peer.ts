/**
 * A program that uses the specification's `lib/redis`. `peer publish` reads lines of {"channel", "update"} and publishes each;
 * `peer subscribe` writes a line of {"channel", "message"} for each update that comes, after one of {"subscribed": true}.
 * Both end with their input. Lines that do not begin with a brace are what the specification's code itself says.
 */

import { createInterface } from "node:readline";
import { redisClient } from "@/lib/redis/client";
import { ServiceChannel, servicePubSub } from "@/lib/redis/pubsub";

const say = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
const lines = createInterface({ input: process.stdin });

if (process.argv[2] === "subscribe") {
  const { BALANCE_SYNC, ACCOUNT_DISCOVERY, ACCOUNT_ENRICHMENT } = ServiceChannel;
  await servicePubSub.subscribe([BALANCE_SYNC, ACCOUNT_DISCOVERY, ACCOUNT_ENRICHMENT], (channel, message) =>
    say({ channel, message }),
  );
  say({ subscribed: true });
}
for await (const line of lines) {
  const { channel, update } = JSON.parse(line);
  await servicePubSub.publishStatus(channel, update);
}
await redisClient.close();
