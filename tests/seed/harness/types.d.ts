/** The one type that the specification's page names and does not define. */
type ServiceStatus = Record<"balanceSync" | "accountDiscovery" | "accountEnrichment", Record<string, unknown>>;
