import { usesRecogniser } from '../backends/split.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { installCommand, whySpeechIsMissing } from '../speech/speech-packages.js'
import type { TraceExport } from '../telemetry/trace-export.js'
import type { HostedAgent } from '../workers/main/main-thread-context.js'

/**
 * Loads code whose packages most gateways do not need. A clone and the image contain these packages. In a release they
 * are optional peer dependencies (`ON_DEMAND` in scripts/release.mjs), which npm does not install by itself.
 * @param asker  the setting or feature that needs the code
 * @throws GatewayError CONFIG_INVALID with the command that installs the packages
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

/** Packages for the export of traces: 10 MB of memory and 28 MB of disk. */
export const loadTraceExport = (): Promise<{ readonly TraceExport: typeof TraceExport }> =>
  onDemand('OTEL_EXPORTER_OTLP_ENDPOINT', /^@opentelemetry\//, () => import('../telemetry/trace-export.js'))

/** Checks that the client of MCP servers (9 MB of disk) is installed. Only media workers load it, not this thread. */
export const findMcpClient = (): Promise<string> =>
  onDemand('mcp', /^@modelcontextprotocol\//, () =>
    Promise.resolve(import.meta.resolve('@modelcontextprotocol/client')),
  )

/** Packages of a stream over gRPC: 8 MB of disk. */
export const GRPC_PACKAGES = /^(?:@grpc\/grpc-js|protobufjs)$/

/**
 * Checks that the packages of a stream over gRPC are installed. Only media workers load them, not this thread.
 * @throws GatewayError, as `onDemand`
 */
export function findGrpc(asker: string): void {
  try {
    import.meta.resolve('@grpc/grpc-js')
    import.meta.resolve('protobufjs')
  } catch (thrown) {
    throw missing(asker, GRPC_PACKAGES, thrown)
  }
}

/**
 * Checks that the S3 client (17 MB of memory, 11 MB of disk) is installed. Only the object storage's thread loads it,
 * not this thread.
 */
export const findS3Client = (): Promise<string> =>
  onDemand('STORAGE_BUCKET', /^@aws-sdk\//, () => Promise.resolve(import.meta.resolve('@aws-sdk/client-s3')))

/**
 * Checks whether the offline recogniser and voice are installed.
 * @returns null if both are installed; otherwise a text with the command that installs them. Without the recogniser and
 * the voice, the gateway cannot speak its own phrases, and an agent cannot continue when its model fails.
 * @throws GatewayError CONFIG_INVALID if an agent uses the embedded backend, which needs them
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
