import type { Backend, BackendSink } from '../../src/backends/backend.js'
import type { BackendContext, RealtimeCode } from '../../src/backends/backend-context.js'
import type { BackendSettings } from '../../src/backends/registry.js'
import { loadConfig } from '../../src/config/load-config.js'
import type { DoubleOptions, DoubleSession, SocketDouble } from '../../src/simulator/vendors/double.js'
import { REALTIME } from '../../src/vendors/list.js'
import type { RealtimeDoubleFacts } from '../../src/vendors/vendor.js'
import { KEYS } from './service-doubles.js'

type Double = SocketDouble<DoubleSession>

/** Optional fields of a session: `sessionFields` of the file double.ts in a vendor's folder, by backend. */
type SessionFieldsOf = Readonly<
  Record<string, readonly { readonly options: Readonly<Record<string, unknown>>; readonly fields: readonly string[] }[]>
>

interface DoubleCode {
  readonly doubles: Readonly<Record<string, readonly [readonly [double: DoubleMaker, ...urls: string[]]]>>
  readonly sessionFields?: SessionFieldsOf
}
interface DoubleMaker {
  start(options: DoubleOptions): Promise<Double>
}

/** A realtime service as its vendor declares it, on its double. */
export async function realtimeOnDouble(backend: string) {
  const service = REALTIME.get(backend)
  if (service === undefined) throw new Error(`there is no backend ${backend}`)
  const { vendor } = service
  const found = Object.entries(vendor.doubles ?? {}).find(
    (entry): entry is [string, RealtimeDoubleFacts] => 'backend' in entry[1] && entry[1].backend === backend,
  )
  if (found === undefined) throw new Error(`${vendor.folder} declares no double of ${backend}`)
  const [name, { env = {} }] = found
  const { doubles, sessionFields = {} } = (await import(`../../src/vendors/${vendor.folder}/double.js`)) as DoubleCode
  const { backends } = (await import(`../../src/vendors/${vendor.folder}/backends.js`)) as {
    readonly backends: Readonly<Record<string, RealtimeCode<object, object>>>
  }
  const [[Double, ...urls]] = doubles[name] ?? [[null]]
  const code = backends[backend]
  if (Double === null || code === undefined) throw new Error(`${vendor.folder} has no code for ${backend}`)
  const context: BackendContext = {
    speech: null,
    clock: () => performance.now(),
    settings: { messageMs: null, streamSilence: false } as BackendSettings,
    legRateHz: 16_000,
    options: {},
    gatewayTurns: false,
    gatewayInterrupts: false,
  }
  return {
    start: (options: DoubleOptions): Promise<Double> => Double.start(options),
    make: (sink: BackendSink, baseUrl: string, own: object): Backend => {
      const addresses = Object.fromEntries(urls.map((url) => [url, baseUrl]))
      const set = service.settings(loadConfig({ ...KEYS, ...addresses, ...env }, null))
      if (set === null) throw new Error(`${backend} is not set up by ${urls.join(', ')}`)
      return code.make(sink, context, set, own)
    },
    rows: sessionFields[backend] ?? [],
  }
}
