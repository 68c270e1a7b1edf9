import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../config/package-root.js'
import { GatewayError, messageOf } from '../core/errors.js'
import type { TraceExport } from '../telemetry/trace-export.js'

/**
 * The export of traces, loaded only where OTEL_EXPORTER_OTLP_ENDPOINT is set: it takes 10 MB of memory and 28 MB of disk. A
 * clone and the image have its packages; of a release they are optional peers, which npm does not install by itself.
 * @throws GatewayError CONFIG_INVALID with the command that installs them
 */
export async function loadTraceExport(): Promise<{ readonly TraceExport: typeof TraceExport }> {
  try {
    return await import('../telemetry/trace-export.js')
  } catch (thrown) {
    const manifest = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as {
      readonly peerDependencies?: Readonly<Record<string, string>>
    }
    const wanted = Object.entries(manifest.peerDependencies ?? {}).map(([name, version]) => `${name}@${version}`)
    throw new GatewayError(
      'CONFIG_INVALID',
      `OTEL_EXPORTER_OTLP_ENDPOINT: the packages that export traces do not load: npm install ${wanted.join(' ')} (${messageOf(thrown).split('\n')[0] ?? ''})`,
    )
  }
}
