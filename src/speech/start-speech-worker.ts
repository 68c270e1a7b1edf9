/**
 * Module that piscina loads for a speech worker, like `workers/worker/start-call-worker.ts` for a media worker. Piscina
 * first tries `require`, which would load all modules of the worker in one step. If the worker is stopped during this
 * step, Node 20 aborts the whole process. Therefore this module has an `await` before it loads any module: `require`
 * fails at the `await`, and piscina then imports this module.
 */
export default (await import('./speech-worker.js')).default
