import { usesRecogniser } from '../backends/split.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { installCommand, whySpeechIsMissing } from '../speech/speech-packages.js'
import type { TraceExport } from '../telemetry/trace-export.js'
import type { HostedAgent } from '../workers/main/main-thread-context.js'

/**
 * Loads what needs packages that most gateways do without. A clone and the image have them; of a release they are
 * optional peers (`ON_DEMAND` in scripts/release.mjs), which npm does not install by itself.
 * @param asker  what asks for them, such as a setting
 * @throws GatewayError CONFIG_INVALID with the command that installs them
 */
export async function onDemand<T>(asker: string, packages: RegExp, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (thrown) {
    throw missing(asker, packages, thrown)
  }
}

function missing(asker: string, packages: RegExp, thrown: unknown): GatewayError {
  const command = installCommand((name) => packages.test(name))
  return new GatewayError(
    'CONFIG_INVALID',
    `${asker}: its packages do not load: ${command} (${messageOf(thrown).split('\n')[0] ?? ''})`,
  )
}

/** The export of traces: 10 MB of memory and 28 MB of disk. */
export const loadTraceExport = (): Promise<{ readonly TraceExport: typeof TraceExport }> =>
  onDemand('OTEL_EXPORTER_OTLP_ENDPOINT', /^@opentelemetry\//, () => import('../telemetry/trace-export.js'))

/** That media workers can load the client of MCP servers, 9 MB of disk; this thread does not. */
export const findMcpClient = (): Promise<string> =>
  onDemand('mcp', /^@modelcontextprotocol\//, () =>
    Promise.resolve(import.meta.resolve('@modelcontextprotocol/client')),
  )

/** Packages of a stream over gRPC: 8 MB of disk. */
export const GRPC_PACKAGES = /^(?:@grpc\/grpc-js|protobufjs)$/

/** That media workers can load what streams over gRPC need; this thread does not. @throws GatewayError, as `onDemand` */
export function findGrpc(asker: string): void {
  try {
    import.meta.resolve('@grpc/grpc-js')
    import.meta.resolve('protobufjs')
  } catch (thrown) {
    throw missing(asker, GRPC_PACKAGES, thrown)
  }
}

/** That the thread of the object storage can load the client of S3, 17 MB of memory and 11 of disk; this thread does not. */
export const findS3Client = (): Promise<string> =>
  onDemand('STORAGE_BUCKET', /^@aws-sdk\//, () => Promise.resolve(import.meta.resolve('@aws-sdk/client-s3')))

/**
 * Says whether the offline recogniser and voice are installed.
 * @returns null; else that they are not, with the command. The gateway's own phrases are then not spoken, and no agent
 *   goes on without its model.
 * @throws GatewayError CONFIG_INVALID where one of the agents is answered by the embedded backend, which needs them
 */
export function findSpeech(agents: Iterable<Pick<HostedAgent, 'definition' | 'shares'>>): string | null {
  const why = whySpeechIsMissing()
  if (why === null) return null
  const asker = [...agents].find(({ shares }) => shares.some(usesRecogniser))
  if (asker === undefined) return why
  throw new GatewayError(
    'CONFIG_INVALID',
    `the agent ${asker.definition.name} is answered by the embedded backend: ${why}`,
  )
}
