import type { Test } from 'tap'

/** Events of a stream, in the order of their arrival. */
export async function follow(t: Test, url: string, headers: Readonly<Record<string, string>> = {}) {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const response = await fetch(url, { headers, signal: stop.signal })
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  const next = async (): Promise<{ event: string; data: Record<string, unknown> } | null> => {
    for (;;) {
      const end = text.indexOf('\n\n')
      if (end >= 0) {
        const block = text.slice(0, end)
        text = text.slice(end + 2)
        const [, event, data] = /^event: (.*)\ndata: (.*)$/.exec(block) ?? []
        if (event !== undefined && data !== undefined)
          return { event, data: JSON.parse(data) as Record<string, unknown> }
        continue
      }
      const chunk = await reader?.read()
      if (chunk === undefined || chunk.done) return null
      text += chunk.value
    }
  }
  return { status: response.status, type: response.headers.get('content-type'), next, stop: () => stop.abort() }
}
