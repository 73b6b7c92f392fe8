/** The only type that the original page uses without a definition. */
type ServiceStatus = Record<"balanceSync" | "accountDiscovery" | "accountEnrichment", Record<string, unknown>>;
