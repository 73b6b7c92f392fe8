import Redis from "ioredis";

class RedisClient {
  private publisher: Redis | null = null;
  private subscriber: Redis | null = null;

  getPublisher(): Redis {
    if (!this.publisher) {
      this.publisher = new Redis({
        host: process.env.REDIS_HOST || "localhost",
        port: parseInt(process.env.REDIS_PORT || "6379"),
        retryStrategy: (times) => {
          const delay = Math.min(times * 50, 2000);
          return delay;
        },
      });

      this.publisher.on("error", (err) => {
        console.error("Redis Publisher Error:", err);
      });

      this.publisher.on("connect", () => {
        console.log("✅ Redis Publisher connected");
      });
    }
    return this.publisher;
  }

  getSubscriber(): Redis {
    if (!this.subscriber) {
      this.subscriber = new Redis({
        host: process.env.REDIS_HOST || "localhost",
        port: parseInt(process.env.REDIS_PORT || "6379"),
        retryStrategy: (times) => {
          const delay = Math.min(times * 50, 2000);
          return delay;
        },
      });

      this.subscriber.on("error", (err) => {
        console.error("Redis Subscriber Error:", err);
      });

      this.subscriber.on("connect", () => {
        console.log("✅ Redis Subscriber connected");
      });
    }
    return this.subscriber;
  }

  async close() {
    if (this.publisher) await this.publisher.quit();
    if (this.subscriber) await this.subscriber.quit();
  }
}

export const redisClient = new RedisClient();
