import { redisClient } from "./client";

export enum ServiceChannel {
  BALANCE_SYNC = "service:balance-sync",
  ACCOUNT_DISCOVERY = "service:account-discovery",
  ACCOUNT_ENRICHMENT = "service:account-enrichment",
  ALL_SERVICES = "service:*",
}

export interface ServiceStatusUpdate {
  service: string;
  timestamp: number;
  status: {
    [key: string]: any;
  };
}

export class ServicePubSub {
  /**
   * Publish service status update
   */
  async publishStatus(
    channel: ServiceChannel,
    status: ServiceStatusUpdate
  ): Promise<void> {
    try {
      const publisher = redisClient.getPublisher();
      await publisher.publish(channel, JSON.stringify(status));
      console.log(`📢 Published to ${channel}:`, status.service);
    } catch (error) {
      console.error("Failed to publish status:", error);
    }
  }

  /**
   * Subscribe to service status updates
   */
  async subscribe(
    channels: ServiceChannel[],
    callback: (channel: string, message: ServiceStatusUpdate) => void
  ): Promise<void> {
    const subscriber = redisClient.getSubscriber();

    subscriber.on("message", (channel, message) => {
      try {
        const data = JSON.parse(message);
        callback(channel, data);
      } catch (error) {
        console.error("Failed to parse message:", error);
      }
    });

    // Use psubscribe for pattern matching if ALL_SERVICES
    if (channels.includes(ServiceChannel.ALL_SERVICES)) {
      await subscriber.psubscribe("service:*");
    } else {
      await subscriber.subscribe(...channels);
    }

    console.log("✅ Subscribed to channels:", channels);
  }
}

export const servicePubSub = new ServicePubSub();
