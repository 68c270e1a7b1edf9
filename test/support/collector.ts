import { createServer } from 'node:http'

interface OtlpSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: readonly { readonly key: string; readonly value: Readonly<Record<string, unknown>> }[]
  readonly events: readonly { readonly name: string; readonly attributes?: readonly { readonly key: string }[] }[]
}

interface Collector {
  readonly url: string
  readonly spans: OtlpSpan[]
  /** Received bodies, as text. */
  readonly bodies: string[]
  readonly close: () => void
}

/** Starts an OTLP/HTTP collector that stores received bodies; `answer` decides each status. */
export async function startCollector(answer: () => number = () => 200): Promise<Collector> {
  const spans: OtlpSpan[] = []
  const bodies: string[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const status = answer()
      if (status === 200 && request.url === '/v1/traces') {
        const text = Buffer.concat(chunks).toString()
        bodies.push(text)
        const body = JSON.parse(text) as { resourceSpans: { scopeSpans: { spans: OtlpSpan[] }[] }[] }
        spans.push(...body.resourceSpans.flatMap((resource) => resource.scopeSpans.flatMap((scope) => scope.spans)))
      }
      response.writeHead(status, { 'content-type': 'application/json' }).end('{}')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return { url: `http://127.0.0.1:${address.port}`, spans, bodies, close: () => server.close() }
}
