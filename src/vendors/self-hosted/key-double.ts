import type { IncomingHttpHeaders } from 'node:http'
import type { Refusal } from '../../simulator/vendors/double.js'

/** The hosts of Azure's resources. */
const AZURE_HOST = /\.(?:openai|services\.ai|cognitiveservices)\.azure\.com(?::\d+)?$/

/**
 * @returns OpenAI's refusal of a request that does not contain `key` as a bearer token; null if the request is
 * accepted, or if `key` is null. A host of Azure accepts the key only as `api-key`.
 */
export function keyRefusal(key: string | null, headers: IncomingHttpHeaders): Refusal | null {
  const { authorization, host = '' } = headers
  if (key === null) return null
  if (AZURE_HOST.test(host)) {
    if (headers['api-key'] === key && authorization === undefined) return null
    const message = 'Access denied due to invalid subscription key or wrong API endpoint.'
    return { status: 401, body: JSON.stringify({ error: { code: '401', message } }) }
  }
  if (authorization === `Bearer ${key}`) return null
  // Like the service, the double repeats the client's API key in its error message.
  const message = `Incorrect API key provided: ${authorization?.replace('Bearer ', '') ?? ''}.`
  return {
    status: 401,
    body: JSON.stringify({ error: { message, type: 'invalid_request_error', code: 'invalid_api_key' } }),
  }
}
