// Prints what importing the library changes in its process: globals, process listeners, open handles, and what it loads that
// it should not need yet.
import { createRequire } from 'node:module'

const before = new Set(Reflect.ownKeys(globalThis))
const promiseKeys = new Set(Reflect.ownKeys(Promise))
const listeners = process.eventNames().length
const handles = process.getActiveResourcesInfo()

await import('kilovolt')

const added = [
  ...Reflect.ownKeys(globalThis).filter(key => !before.has(key)),
  ...Reflect.ownKeys(Promise).filter(key => !promiseKeys.has(key) && key !== 'withResolvers')
].map(String)
const after = process.getActiveResourcesInfo()
for (const handle of handles) if (after.includes(handle)) after.splice(after.indexOf(handle), 1)
// CommonJS, and a quarter of a megabyte of WebAssembly, that only who compresses needs.
const early = Object.keys(createRequire(import.meta.url).cache).filter(file => file.includes('zstd'))
process.stdout.write(
  JSON.stringify({ globals: added, listeners: process.eventNames().length - listeners, handles: after, early })
)
