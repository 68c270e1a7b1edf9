import type { Test } from 'tap'
import { ApiPaths } from '../../src/sautikit-api/api-paths.js'
import type { ApiPath } from '../../src/sautikit-api/api-paths.js'
import { SautikitClient } from '../../src/sautikit-api/client.js'
import { CarrierHttp } from '../../src/sautikit-api/http.js'
import { CarrierNumbers } from '../../src/sautikit-api/numbers.js'
import { RestServer } from '../../src/carrier/rest-server.js'
import type { RestServerOptions } from '../../src/carrier/rest-server.js'
import { Workspace } from '../../src/carrier/workspace.js'
import type { WorkspaceOptions } from '../../src/carrier/workspace.js'

export const KEY = 'tsk_test_0123456789'
export const OUR_NUMBER = '+254700000000'

interface SimulatedApi {
  readonly server: RestServer
  readonly workspace: Workspace
  readonly calls: SautikitClient
  readonly numbers: CarrierNumbers
  readonly http: CarrierHttp
  /** Pauses before retries; the test does not wait for them. */
  readonly pauses: number[]
}

/** REST API of the simulator on a free port, and our client for it. */
export async function simulatedApi(
  t: Pick<Test, 'teardown'>,
  options: Partial<RestServerOptions> & {
    readonly with?: WorkspaceOptions
    readonly paths?: readonly ApiPath[]
    readonly timeoutMs?: number
  } = {},
): Promise<SimulatedApi> {
  const workspace =
    options.workspace ??
    new Workspace({
      owned: [{ id: 'num_1', e164: OUR_NUMBER, status: 'active', voiceUrl: null, eventsUrl: null }],
      inventory: Array.from({ length: 30 }, (_, index) => ({
        inventoryId: `inv_${index + 1}`,
        e164: `+2547000001${String(index).padStart(2, '0')}`,
        monthlyPriceMinor: 50_000,
      })),
      ...options.with,
    })
  const server = await RestServer.start({ workspace, keys: { [KEY]: 'all' }, port: 0, place: null, ...options })
  t.teardown(() => server.close())
  const pauses: number[] = []
  const http = new CarrierHttp({
    baseUrl: server.origin,
    apiKey: KEY,
    timeoutMs: options.timeoutMs ?? 1000,
    random: () => 1,
    pause: (ms) => {
      pauses.push(ms)
      return Promise.resolve()
    },
  })
  const paths = new ApiPaths(options.paths)
  return {
    server,
    workspace,
    http,
    pauses,
    calls: new SautikitClient(http, paths),
    numbers: new CarrierNumbers(http, paths),
  }
}
