"use client";

import { useState, useEffect, useRef } from "react";
// ... other imports ...

export default function ServicesMonitorPage() {
  const [status, setStatus] = useState<ServiceStatus | null>(null);
  const [loading, setLoading] = useState(true);
  const [connected, setConnected] = useState(false);
  const eventSourceRef = useRef<EventSource | null>(null);

  useEffect(() => {
    // Create SSE connection
    const eventSource = new EventSource("/api/services/status/stream");
    eventSourceRef.current = eventSource;

    eventSource.onopen = () => {
      console.log("✅ SSE Connected");
      setConnected(true);
      setLoading(false);
    };

    eventSource.onmessage = (event) => {
      try {
        const data = JSON.parse(event.data);
        
        // Handle initial full status
        if (data.balanceSync && data.accountDiscovery && data.accountEnrichment) {
          setStatus({
            balanceSync: data.balanceSync,
            accountDiscovery: data.accountDiscovery,
            accountEnrichment: data.accountEnrichment,
          });
        } 
        // Handle individual service updates
        else if (data.service) {
          setStatus((prev) => {
            if (!prev) return prev;
            
            const serviceKey = data.service === "balance-sync" 
              ? "balanceSync"
              : data.service === "account-discovery"
              ? "accountDiscovery"
              : "accountEnrichment";
            
            return {
              ...prev,
              [serviceKey]: data.status,
            };
          });
        }
      } catch (error) {
        console.error("Failed to parse SSE data:", error);
      }
    };

    eventSource.onerror = (error) => {
      console.error("SSE Error:", error);
      setConnected(false);
      eventSource.close();
      
      // Reconnect after 5 seconds
      setTimeout(() => {
        window.location.reload();
      }, 5000);
    };

    // Cleanup on unmount
    return () => {
      eventSource.close();
    };
  }, []);

  // Remove manual refresh - no longer needed
  // const fetchStatus = async () => { ... }

  if (loading) {
    return (
      <div className="flex items-center justify-center h-screen">
        <RefreshCw className="h-8 w-8 animate-spin" />
      </div>
    );
  }

  return (
    <div className="container mx-auto p-6 space-y-6">
      <div className="flex items-center justify-between">
        <div>
          <h1 className="text-3xl font-bold">Background Services Monitor</h1>
          <p className="text-muted-foreground">
            Real-time service status updates
            {connected && (
              <span className="ml-2 text-green-600">● Connected</span>
            )}
            {!connected && (
              <span className="ml-2 text-red-600">● Disconnected</span>
            )}
          </p>
        </div>
      </div>

      {/* Rest of UI stays the same */}
    </div>
  );
}
