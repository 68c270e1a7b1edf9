import { spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../support/free-ports.js'
import { comesUp } from '../support/until.js'
import { spawnOwn } from '../support/spawn-own.js'

/** Whether a program of Debian's package prometheus is there. */
export function installed(program: 'prometheus' | 'promtool'): boolean {
  return spawnSync(program, ['--version']).status === 0
}

interface Sample {
  readonly metric: Readonly<Record<string, string>>
  /** Finite values alone. */
  readonly values: readonly number[]
}

interface Exemplar {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** A real Prometheus on a free port, scraping each second. */
export class Prometheus {
  readonly #url: string
  readonly #stop: () => Promise<void>

  private constructor(url: string, stop: () => Promise<void>) {
    this.#url = url
    this.#stop = stop
  }

  /** @param rules  paths of rule files; @param opsPort  the gateway's */
  static async start(opsPort: number, rules: readonly string[]): Promise<Prometheus> {
    const folder = await mkdtemp(join(tmpdir(), 'mkondo-prometheus-'))
    const job = (name: string, path: string): object => ({
      job_name: name,
      metrics_path: path,
      static_configs: [{ targets: [`127.0.0.1:${opsPort}`] }],
    })
    // JSON is YAML.
    await writeFile(
      join(folder, 'prometheus.yml'),
      JSON.stringify({
        global: { scrape_interval: '1s', evaluation_interval: '1s' },
        rule_files: rules,
        scrape_configs: [job('mkondo', '/metrics'), job('mkondo-calls', '/metrics/calls')],
      }),
    )
    const port = await freePort()
    const url = `http://127.0.0.1:${port}`
    const child = spawnOwn(
      'prometheus',
      [
        `--config.file=${join(folder, 'prometheus.yml')}`,
        `--storage.tsdb.path=${join(folder, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
        '--enable-feature=exemplar-storage',
        '--log.level=error',
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    )
    let said = ''
    child.stderr.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-4000)
    })
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    const stop = async (): Promise<void> => {
      child.kill('SIGKILL') // its data are thrown away
      await gone
      await rm(folder, { recursive: true, force: true })
    }
    const ready = (): Promise<boolean> =>
      fetch(`${url}/-/ready`).then(
        (answer) => answer.ok,
        () => false,
      )
    try {
      await comesUp(child, ready, 20_000, 'a Prometheus that is ready', () => said)
    } catch (thrown) {
      await stop()
      throw thrown
    }
    return new Prometheus(url, stop)
  }

  stop(): Promise<void> {
    return this.#stop()
  }

  /** Now, or each second of the last `rangeS`. */
  async query(expr: string, rangeS: number | null): Promise<Sample[]> {
    const end = Date.now() / 1000
    const asked =
      rangeS === null
        ? { query: expr, time: String(end) }
        : { query: expr, start: String(end - rangeS), end: String(end), step: '1' }
    const data = (await this.#get(rangeS === null ? 'query' : 'query_range', asked)) as QueryData
    if (data.resultType === 'scalar') return [{ metric: {}, values: [Number(data.result[1])] }]
    return data.result.map((series) => ({
      metric: series.metric,
      values: (series.values ?? [series.value ?? [0, 'NaN']]).map(([, value]) => Number(value)).filter(Number.isFinite),
    }))
  }

  async exemplars(expr: string, rangeS: number): Promise<Exemplar[]> {
    const end = Date.now() / 1000
    const data = await this.#get('query_exemplars', { query: expr, start: String(end - rangeS), end: String(end + 1) })
    return (data as { exemplars: { labels: Record<string, string>; value: string }[] }[])
      .flatMap((series) => series.exemplars)
      .map(({ labels, value }) => ({ labels, value: Number(value) }))
  }

  async rules(): Promise<{ name: string; type: string; health: string; lastError?: string }[]> {
    const data = (await this.#get('rules', {})) as {
      groups: { rules: { name: string; type: string; health: string }[] }[]
    }
    return data.groups.flatMap((group) => group.rules)
  }

  async targets(): Promise<{ health: string; lastError: string; scrapePool: string }[]> {
    return (
      (await this.#get('targets', {})) as { activeTargets: { health: string; lastError: string; scrapePool: string }[] }
    ).activeTargets
  }

  async #get(path: string, asked: Readonly<Record<string, string>>): Promise<unknown> {
    const answer = await fetch(
      `${this.#url}/api/v1/${path}`,
      path === 'rules' || path === 'targets' ? {} : { method: 'POST', body: new URLSearchParams(asked) },
    )
    const body = (await answer.json()) as { status: string; error?: string; data: unknown }
    if (body.status !== 'success') throw new Error(`${path} of ${asked['query'] ?? ''}: ${body.error ?? answer.status}`)
    return body.data
  }
}

type Value = readonly [number, string]
type QueryData =
  | { readonly resultType: 'scalar'; readonly result: Value }
  | {
      readonly resultType: 'vector' | 'matrix'
      readonly result: readonly {
        readonly metric: Record<string, string>
        readonly value?: Value
        readonly values?: readonly Value[]
      }[]
    }
