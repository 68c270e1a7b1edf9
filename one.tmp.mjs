import {readFileSync} from 'node:fs'
import {Session} from 'node:inspector/promises'
import v8 from 'node:v8'
import vm from 'node:vm'
const read=(l)=>{ const m=readFileSync('/proc/self/smaps_rollup','utf8'); const u=process.memoryUsage(); console.log(l.padEnd(20),[m.match(/Rss:\s+(\d+)/)[1]/1024,m.match(/Anonymous:\s+(\d+)/)[1]/1024,u.heapUsed/1e6,u.heapTotal/1e6,u.external/1e6].map(x=>x.toFixed(1)).join('  '), 'new',v8.getHeapSpaceStatistics()[1].physical_space_size/1e6)}
read('start')
if (process.argv[2]==='grow1') v8.setFlagsFromString('--semi-space-growth-factor=1')
if (process.argv[2]==='max') v8.setFlagsFromString('--max-semi-space-size=2')
if (process.argv[2]==='min') v8.setFlagsFromString('--min-semi-space-size=1')
await import('./dist/src/gateway/gateway.js')
read('gateway')
if (process.argv[2]==='insp') { 
const s=new Session(); s.connect(); const t=performance.now(); await s.post('HeapProfiler.collectGarbage'); console.log('gc ms',performance.now()-t); s.disconnect()
read('collected') }
if (process.argv[2]==='gc') { v8.setFlagsFromString('--expose-gc'); const gc=vm.runInNewContext('gc'); const t=performance.now(); gc(); gc(); console.log('gc ms',performance.now()-t); read('gc') }
await new Promise(r=>setTimeout(r,9000)); read('+9s')
