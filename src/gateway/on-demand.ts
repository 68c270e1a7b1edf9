import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../config/package-root.js'
import { GatewayError, messageOf } from '../core/errors.js'
import type { TraceExport } from '../telemetry/trace-export.js'

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
    const manifest = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as {
      readonly peerDependencies?: Readonly<Record<string, string>>
    }
    const wanted = Object.entries(manifest.peerDependencies ?? {})
      .filter(([name]) => packages.test(name))
      .map(([name, version]) => `${name}@${version}`)
    throw new GatewayError(
      'CONFIG_INVALID',
      `${asker}: its packages do not load: npm install ${wanted.join(' ')} (${messageOf(thrown).split('\n')[0] ?? ''})`,
    )
  }
}

/** The export of traces: 10 MB of memory and 28 MB of disk. */
export const loadTraceExport = (): Promise<{ readonly TraceExport: typeof TraceExport }> =>
  onDemand('OTEL_EXPORTER_OTLP_ENDPOINT', /^@opentelemetry\//, () => import('../telemetry/trace-export.js'))

/** That media workers can load the client of MCP servers, 9 MB of disk; this thread does not. */
export const findMcpClient = (): Promise<string> =>
  onDemand('mcp', /^@modelcontextprotocol\//, () =>
    Promise.resolve(import.meta.resolve('@modelcontextprotocol/client')),
  )

/** That the thread of the object storage can load the client of S3, 17 MB of memory and 11 of disk; this thread does not. */
export const findS3Client = (): Promise<string> =>
  onDemand('STORAGE_BUCKET', /^@aws-sdk\//, () => Promise.resolve(import.meta.resolve('@aws-sdk/client-s3')))
