/**
 * Hosts of Azure's resources. These hosts accept an API key only as `api-key`: they treat a bearer token as an Entra
 * token.
 */
const API_KEY_HOST = /\.(openai\.azure|services\.ai\.azure|cognitiveservices\.azure)\.com$/

/**
 * @param baseUrl  address of the service; undefined: the vendor's own
 * @returns the header with the API key in the form for this address; an empty object without a key
 */
export function keyHeaders(apiKey: string | null, baseUrl: string | undefined): Readonly<Record<string, string>> {
  if (apiKey === null) return {}
  const isApiKey = baseUrl !== undefined && API_KEY_HOST.test(new URL(baseUrl).hostname)
  return isApiKey ? { 'api-key': apiKey } : { Authorization: `Bearer ${apiKey}` }
}
