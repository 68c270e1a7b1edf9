import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  GATEWAY_PROCESSES_MAX,
  idleFolders,
  portsOf,
  processCount,
  processPlans,
  sparePlan,
} from '../../src/gateway/process-plan.js'
import { loadConfig } from '../../src/config/load-config.js'
import { GatewayError } from '../../src/core/errors.js'
import { INTERNAL_PORT_DEFAULT } from '../../src/core/limits.js'

/** The one line that stops the start. */
function complaint(work: () => unknown): string {
  try {
    work()
  } catch (thrown) {
    if (thrown instanceof GatewayError && thrown.code === 'CONFIG_INVALID') return thrown.message
    throw thrown
  }
  return 'accepted'
}

const plans = (count: number, env: Readonly<Record<string, string>> = {}) => processPlans(loadConfig(env, null), count)

t.test('the number of processes is 1 to 64', async (t) => {
  t.equal(processCount(undefined), 1)
  t.equal(processCount('64'), 64)
  for (const wrong of ['0', '65', '-1', '2.5', 'all', '']) {
    t.equal(
      complaint(() => processCount(wrong)),
      `--processes is '${wrong}'; allowed: a whole number from 1 to 64`,
    )
  }
})

t.test('a single process uses the settings unchanged', async (t) => {
  const config = loadConfig({}, null)
  t.same(processPlans(config, 1)[0]?.config, config)
  t.equal(processPlans(config, 1)[0]?.config.internalPort, null, 'and no internal listener')
})

t.test('processes get consecutive ports, shared totals and own folders', async (t) => {
  const three = plans(3, {
    PORT: '8080',
    OPS_PORT: '9464',
    MAX_CALLS: '200',
    MEDIA_WORKERS: '7',
    DATA_DIR: '/data',
    OUTBOUND_PER_MINUTE: '30',
    RECORDS_KEEP_MB: '100',
  })
  t.same(
    three.map(({ ownPort }) => ownPort),
    [8081, 8082, 8083],
  )
  t.same(
    three.map(({ config }) => config.port),
    [8080, 8080, 8080],
  )
  t.same(
    three.map(({ config }) => config.opsPort),
    [9464, 9465, 9466],
  )
  t.same(
    three.map(({ config }) => config.maxCalls),
    [67, 67, 66],
  )
  t.same(
    three.map(({ config }) => config.mediaWorkers),
    [3, 2, 2],
  )
  t.same(
    three.map(({ config }) => config.outboundPerMinute),
    [10, 10, 10],
  )
  t.same(
    three.map(({ config }) => config.recordsKeepMb),
    [34, 33, 33],
  )
  t.same(
    three.map(({ config }) => config.dataDir),
    ['/data', '/data/process-1', '/data/process-2'],
  )
  t.ok(
    plans(64).every(({ config }) => config.mediaWorkers >= 1 && config.outboundPerMinute === 1),
    'defaults never stand in the way',
  )
  t.same(
    plans(2, { OPS_PORT: '0' }).map(({ config }) => config.opsPort),
    [0, 0],
    'the system may choose ops ports',
  )
})

t.test("the spare process follows the others with the first's share", async (t) => {
  const config = loadConfig({ PORT: '8080', OPS_PORT: '9464', MAX_CALLS: '5', DATA_DIR: '/data' }, null)
  const { index, ownPort, config: spare } = sparePlan(config, 2)
  t.same([index, ownPort, spare.opsPort, spare.dataDir, spare.maxCalls], [2, 8083, 9466, '/data/process-2', 3])
})

t.test('NODE_URL leads to each process', async (t) => {
  const env = { PUBLIC_URL: 'https://voice.example.com', NODE_URL: 'https://voice.example.com/p/{process}/' }
  t.same(
    plans(2, env).map(({ config }) => config.nodeUrl),
    ['https://voice.example.com/p/0', 'https://voice.example.com/p/1'],
  )
  t.equal(
    plans(2, { ...env, NODE_URL: 'https://gw-1-{process}.example.com' })[1]?.config.nodeUrl,
    'https://gw-1-1.example.com',
  )
  t.equal(
    plans(2, { ...env, NODE_NAME: 'gw-1', NODE_URL: 'https://voice.example.com/n/{node}' })[1]?.config.nodeUrl,
    'https://voice.example.com/n/gw-1-1',
  )
  t.match(
    complaint(() => plans(2, { NODE_URL: 'https://voice.example.com' })),
    /^NODE_URL is 'https:\/\/voice\.example\.com'; allowed with --processes 2: a URL with \{process\} or \{node\}/,
  )
  for (const wrong of [
    'voice-{process}.example.com',
    'wss://voice.example.com/{process}',
    'https://voice.example.com/{process}?x=1',
  ]) {
    t.match(
      complaint(() => plans(2, { NODE_URL: wrong })),
      /^NODE_URL is '.*'; allowed: an http:\/\/ or https:\/\/ URL, with \{node\} for/,
      wrong,
    )
  }
})

t.test('settings that do not fit the process count are reported', async (t) => {
  const redis = {
    REDIS_URL: 'redis://127.0.0.1',
    NODE_URL: 'https://{node}.example.com',
    TOKEN_SECRET: 'a-secret-of-the-fleet',
  }
  const cases: readonly (readonly [number, Record<string, string>, RegExp])[] = [
    [
      2,
      { PUBLIC_URL: 'https://voice.example.com' },
      /^NODE_URL is not set, but PUBLIC_URL is; allowed with --processes 2: a URL with \{process\}/,
    ],
    [
      1,
      { NODE_URL: 'https://voice-{process}.example.com' },
      /^NODE_URL is 'https:\/\/voice-\{process\}\.example\.com'; allowed: with REDIS_URL, or with --processes 2 or more/,
    ],
    [2, { PORT: '0' }, /^PORT is '0'; allowed with --processes 2: 1 to 65532/],
    [4, { PORT: '65532' }, /^PORT is '65532'; allowed with --processes 4: 1 to 65530/],
    [4, { OPS_PORT: '65533' }, /^OPS_PORT is '65533'; allowed with --processes 4: 0 to 65531/],
    [
      4,
      { PORT: '9460', OPS_PORT: '9464' },
      /^OPS_PORT is '9464'; allowed with PORT 9460 and --processes 4: a port so that 9464 to 9468 are none of 9460 to 9465/,
    ],
    [4, { PORT: '9465', OPS_PORT: '9464' }, /^OPS_PORT is '9464'/],
    [4, { INTERNAL_PORT: '65533' }, /^INTERNAL_PORT is '65533'; allowed with --processes 4: 0 to 65531/],
    [
      2,
      { INTERNAL_PORT: '9465' },
      /^INTERNAL_PORT is '9465'; allowed with OPS_PORT 9464 and --processes 2: a port so that 9465 to 9467 are none of 9464 to 9466/,
    ],
    [2, { INTERNAL_PORT: '8082' }, /^INTERNAL_PORT is '8082'; allowed with PORT 8080 and --processes 2/],
    [
      3,
      { RECOVERY_PER_MINUTE: '2' },
      /^RECOVERY_PER_MINUTE is '2'; allowed with --processes 3: 0 for none, otherwise 3 or more/,
    ],
    [3, { OUTBOUND_PER_MINUTE: '2' }, /^OUTBOUND_PER_MINUTE is '2'; allowed with --processes 3: 3 or more/],
    [
      1,
      { REDIS_URL: 'redis://127.0.0.1' },
      /^NODE_URL is not set, but REDIS_URL is; allowed: a URL that leads to this node/,
    ],
    [2, { REDIS_URL: 'redis://127.0.0.1' }, /^NODE_URL is not set, but REDIS_URL is; allowed with --processes 2/],
    [
      1,
      { ...redis, TOKEN_SECRET: '' },
      /^TOKEN_SECRET is not set, but REDIS_URL is; allowed: a secret that all nodes have/,
    ],
    [
      1,
      { ...redis, INTERNAL_HOST: '0.0.0.0' },
      /^INTERNAL_URL is not set, and INTERNAL_HOST is '0\.0\.0\.0'; allowed with REDIS_URL: the origin/,
    ],
    [1, { ...redis, INTERNAL_HOST: '::' }, /^INTERNAL_URL is not set, and INTERNAL_HOST is '::'/],
    [
      2,
      { INTERNAL_URL: 'http://10.0.0.5:9465' },
      /^INTERNAL_URL is 'http:\/\/10\.0\.0\.5:9465'; allowed with --processes 2: a URL without a port/,
    ],
    [
      1,
      { ...redis, INTERNAL_URL: 'https://10.0.0.5' },
      /^INTERNAL_URL is .*; allowed without INTERNAL_TLS_CERT: a URL that begins with http:/,
    ],
    [2, { NODE_NAME: 'n'.repeat(62) }, /^NODE_NAME is 'n+'; allowed with --processes 2: at most 61 characters/],
    [
      1,
      { ...redis, NODE_NAME: 'gw_1' },
      /^NODE_URL is 'https:\/\/gw_1\.example\.com' with the NODE_NAME 'gw_1'; allowed: a name/,
    ],
    [3, { MAX_CALLS: '2' }, /^MAX_CALLS is '2'; allowed with --processes 3: 3 or more, for all processes together/],
    [3, { OUTBOUND_PER_MINUTE: '2' }, /^OUTBOUND_PER_MINUTE is '2'/],
    [
      2,
      { MAX_CALLS: '4001', MEDIA_WORKERS: '2' },
      /^MAX_CALLS is '4001', 2001 of them for process 0; allowed with its 1 of the MEDIA_WORKERS: at most 2000 for one process/,
    ],
  ]
  for (const [count, env, line] of cases)
    t.match(
      complaint(() => plans(count, env)),
      line,
    )
  t.equal(
    complaint(() => plans(4, { PORT: '9458', OPS_PORT: '9464' })),
    'accepted',
    'next to each other',
  )
  t.equal(
    complaint(() => plans(4, { PORT: '9469', OPS_PORT: '9464' })),
    'accepted',
  )
})

t.test('a node of a fleet gets its name and URLs', async (t) => {
  const env = {
    REDIS_URL: 'redis://127.0.0.1:6379/1',
    TOKEN_SECRET: 'a-secret-of-the-fleet',
    NODE_NAME: 'gw-1',
    NODE_URL: 'https://voice.example.com/n/{node}',
    INTERNAL_HOST: '0.0.0.0',
    INTERNAL_URL: 'http://{node}.internal',
  }
  t.match(plans(1, env)[0]?.config, {
    nodeName: 'gw-1',
    nodeUrl: 'https://voice.example.com/n/gw-1',
    internalUrl: 'http://gw-1.internal',
    internalPort: 9600,
  })
  t.match(
    plans(2, { ...env, INTERNAL_URL: 'http://10.0.0.5', INTERNAL_PORT: '9470' }).map(({ config }) => config),
    [0, 1].map((index) => ({
      nodeName: `gw-1-${index}`,
      nodeUrl: `https://voice.example.com/n/gw-1-${index}`,
      internalUrl: 'http://10.0.0.5',
      internalPort: 9470 + index,
    })),
  )
  t.same(
    plans(2).map(({ config }) => config.internalPort),
    [0, 0],
    'processes of one machine take any free ones',
  )
  t.same(
    portsOf(plans(1, env)).map(({ setting, host, port }) => `${setting} ${host}:${port}`),
    ['PORT 127.0.0.1:8080', 'OPS_PORT 127.0.0.1:9464', 'INTERNAL_PORT 0.0.0.0:9600'],
  )
  t.same(
    plans(3, { RECOVERY_PER_MINUTE: '0' }).map(({ config }) => config.recoveryPerMinute),
    [0, 0, 0],
  )
  t.same(
    plans(3, { RECOVERY_PER_MINUTE: '7' }).map(({ config }) => config.recoveryPerMinute),
    [3, 2, 2],
  )
})

t.test('folders of removed processes are found', async (t) => {
  const folder = t.testdir()
  for (const name of ['records', 'process-1', 'process-2', 'process-7', 'process-x']) mkdirSync(join(folder, name))
  t.same(
    idleFolders(folder, 2)
      .left.map((path) => path.slice(folder.length + 1))
      .sort(),
    ['process-7'],
  )
  t.equal(idleFolders(folder, 2).spare, join(folder, 'process-2'))
  t.same(idleFolders(folder, 1).left.length, 3)
  t.same(idleFolders(join(folder, 'nowhere'), 1), { left: [], spare: null })
})

t.test('the default internal port is not used by any process', async (t) => {
  const most = [...plans(GATEWAY_PROCESSES_MAX, { MAX_CALLS: '6400', MEDIA_WORKERS: '64' })]
  const used = portsOf([...most, sparePlan(loadConfig({}, null), GATEWAY_PROCESSES_MAX)]).map(({ port }) => port)
  t.ok(used.length > 2 * GATEWAY_PROCESSES_MAX)
  t.notOk(used.includes(INTERNAL_PORT_DEFAULT))
})
