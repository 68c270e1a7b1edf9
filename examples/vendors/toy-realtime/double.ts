import type { IncomingHttpHeaders } from 'node:http'
import type { Refusal } from '../../simulator/vendors/double.js'
import { OpenAiDouble } from '../self-hosted/double.js'

/** A double of Toy Realtime on loopback: like other doubles of its dialect, but it accepts only its own models. */
class ToyRealtimeDouble extends OpenAiDouble {
  protected override refusalOf(url: URL, headers: IncomingHttpHeaders): Refusal | null {
    const model = url.searchParams.get('model') ?? ''
    const unknown = { status: 404, body: JSON.stringify({ error: { message: `There is no model ${model}.` } }) }
    return super.refusalOf(url, headers) ?? (model.startsWith('toy-') ? null : unknown)
  }
}

export const doubles = { 'toy-realtime': [[ToyRealtimeDouble, 'TOY_REALTIME_URL']] }

/** Options of the agent that the service may refuse, and their fields in the session. */
export const sessionFields = { 'toy-realtime': [{ options: { speed: 0.9 }, fields: ['language', 'speed'] }] }
