import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const src = join(root, 'src')

/** The public types, and no way past them. */
const FACADE: readonly string[] = ['index.ts', 'base']

/** The floors: what each folder may import besides itself. */
const FLOORS: Readonly<Record<string, readonly string[]>> = (() => {
  const values = ['base', 'runtime', 'model', 'codec']
  const upTo = (...more: string[]): string[] => [...values, ...more]
  return {
    base: [],
    runtime: ['base', 'model'],
    model: ['base'],
    codec: ['base', 'model'],
    storage: upTo(),
    transport: upTo(),
    membership: upTo('transport'),
    consensus: upTo('storage', 'transport'),
    placement: ['base', 'runtime', 'model'],
    cluster: upTo('storage', 'transport', 'membership', 'consensus', 'placement'),
    replication: upTo('storage', 'transport', 'placement'),
    repair: upTo('storage', 'transport', 'placement', 'replication'),
    node: upTo('storage', 'transport', 'membership', 'consensus', 'placement', 'cluster', 'replication', 'repair'),
    session: ['base', 'runtime', 'node'],
    testing: upTo(
      'storage',
      'transport',
      'membership',
      'consensus',
      'placement',
      'cluster',
      'replication',
      'repair',
      'node'
    ),
    // The faces: whatever an app could import, and errors.
    keyv: FACADE,
    level: FACADE,
    unstorage: FACADE
  }
})()

/** Port files: the only ones that a floor may see of a floor it stands beside. */
const PORTS_ONLY: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  membership: { transport: ['transport.ts', 'hello.ts', 'message-type.ts'] },
  consensus: { transport: ['transport.ts', 'message-type.ts'], storage: ['store.ts', 'key-layout.ts', 'sealed.ts'] },
  cluster: {
    transport: ['transport.ts', 'hello.ts', 'message-type.ts'],
    storage: ['store.ts', 'key-layout.ts', 'sealed.ts']
  },
  replication: {
    transport: ['transport.ts', 'message-type.ts'],
    storage: [
      'arrival-log.ts',
      'hint-store.ts',
      'horizons.ts',
      'indexes.ts',
      'record-store.ts',
      'stored-index.ts',
      'tree-index.ts'
    ]
  },
  keyv: { base: ['arguments.ts', 'errors.ts', 'options.ts', 'ttl.ts'] },
  level: { base: ['arguments.ts', 'errors.ts', 'options.ts'] },
  unstorage: { base: ['arguments.ts', 'errors.ts', 'options.ts', 'ttl.ts'] },
  repair: {
    transport: ['transport.ts', 'message-type.ts'],
    storage: ['damage.ts', 'record-store.ts', 'hint-store.ts', 'horizons.ts', 'set-aside.ts', 'tree-index.ts']
  }
}

/** Packages that belong to one folder (or to the one file that picks concrete classes). */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  'abstract-level': ['level', 'storage'],
  'lru-cache': ['storage', 'node/unpacked-values.ts'],
  'sorted-btree': ['storage'],
  libp2p: ['transport'],
  '@libp2p/': ['transport'],
  '@chainsafe/': ['transport'],
  '@multiformats/': ['transport'],
  'xxhash-wasm': ['runtime'],
  '@bokuweb/zstd-wasm': ['runtime'],
  'level-transcoder': ['node/encodings.ts'],
  cborg: ['node/structured.ts'],
  'cborg/': ['node/structured.ts'],
  // Its declarations need those of the DOM, which those of the façade are not to.
  'main-event': ['node/kilovolt-node.ts'],
  'it-pipe': ['repair']
}

/** What reads the world, and what to take instead. Only `runtime/` may. */
const AMBIENT: readonly (readonly [pattern: RegExp, instead: string])[] = [
  [/\bDate\.now\b|\bnew Date\(\s*\)/u, 'Clock.wallMs'],
  [/\bperformance\.now\b|\bhrtime\b/u, 'Clock.monotonicMs'],
  [/(?<![.\w])set(?:Timeout|Interval|Immediate)\(/u, 'Clock.after or Clock.soon'],
  [/AbortSignal\.timeout/u, 'Clock.after'],
  [/process\.nextTick/u, 'Clock.soon'],
  [/Math\.random|\brandomBytes\b|\brandomInt\b|\brandomUUID\b|getRandomValues/u, 'Random'],
  [/(?<![.\w])console\./u, 'Logger']
]

/** Lines beyond which a file is more than one noun. */
const LINES_MAX = 400

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return filesBelow(path)
    return path.endsWith('.ts') ? [path] : []
  })
}

const files = filesBelow(src).map(path => {
  const text = readFileSync(path, 'utf8')
  const imports = [
    ...text.matchAll(
      /(?:^|\n)\s*(?:import|export)\b[^'"\n]*(?:\n[^'"\n]*)*?\bfrom '([^']+)'|\bimport\(?\s*'([^']+)'\)?/gu
    )
  ]
  return {
    name: relative(src, path).replaceAll('\\', '/'),
    path,
    text,
    // Comments may speak of anything.
    code: text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gmu, ''),
    imports: imports.map(match => (match[1] ?? match[2])!)
  }
})

describe('tidy: the shape of src', () => {
  it('has only the folders of the architecture', () => {
    const folders = readdirSync(src).filter(name => statSync(join(src, name)).isDirectory())
    assert.deepEqual(
      folders.filter(folder => !(folder in FLOORS)),
      []
    )
  })

  it('imports only downward', () => {
    const wrong: string[] = []
    for (const { name, path, imports } of files) {
      const folder = name.includes('/') ? name.slice(0, name.indexOf('/')) : ''
      if (folder === '') continue
      for (const specifier of imports.filter(text => text.startsWith('.'))) {
        const target = relative(src, resolve(dirname(path), specifier)).replaceAll('\\', '/')
        const [targetFolder = '', ...rest] = target.split('/')
        if (targetFolder === folder) continue
        const ports = PORTS_ONLY[folder]?.[targetFolder]
        const allowed = FLOORS[folder]?.includes(targetFolder) === true && (ports?.includes(rest.join('/')) ?? true)
        if (!allowed) wrong.push(`${name} imports ${target}`)
      }
    }
    assert.deepEqual(wrong, [])
  })

  it('lets the faces see the library by its types alone, so that each loads next to nothing', () => {
    const wrong = files.filter(
      ({ name, code }) =>
        FLOORS[name.slice(0, name.indexOf('/'))] === FACADE &&
        code.replaceAll(/import type [^']*'\.\.\/index\.ts'/gu, '').includes('/index.ts')
    )
    assert.deepEqual(
      wrong.map(({ name }) => name),
      []
    )
  })

  it('imports each package only where it belongs', () => {
    const wrong: string[] = []
    for (const { name, imports } of files) {
      for (const specifier of imports.filter(text => !text.startsWith('.') && !text.startsWith('node:'))) {
        const owner = Object.entries(PACKAGES).find(
          ([prefix]) => specifier === prefix || (specifier.startsWith(prefix) && prefix.endsWith('/'))
        )
        if (owner === undefined || !owner[1].some(place => name === place || name.startsWith(`${place}/`))) {
          wrong.push(`${name} imports ${specifier}`)
        }
      }
    }
    assert.deepEqual(wrong, [])
  })

  it('reads no ambient clock, chance, timer or console outside runtime/', () => {
    const wrong: string[] = []
    for (const { name, code } of files) {
      if (name.startsWith('runtime/')) continue
      for (const [pattern, instead] of AMBIENT) {
        if (pattern.test(code)) wrong.push(`${name} uses ${pattern.exec(code)?.[0]}: take ${instead}`)
      }
    }
    assert.deepEqual(wrong, [])
  })

  it('keeps files to one noun', () => {
    const long = files.filter(({ text }) => text.split('\n').length > LINES_MAX)
    assert.deepEqual(
      long.map(({ name, text }) => `${name}: ${text.split('\n').length} lines`),
      []
    )
  })

  it('names files in kebab-case and exports nothing by default', () => {
    assert.deepEqual(
      files.filter(({ name }) => !/^(?:[a-z0-9]+(?:-[a-z0-9]+)*\/?)+\.ts$/u.test(name)).map(({ name }) => name),
      []
    )
    assert.deepEqual(
      files.filter(({ code }) => /\bexport default\b/u.test(code)).map(({ name }) => name),
      []
    )
  })

  it('has no circle of imports', () => {
    const graph = new Map(
      files.map(({ path, imports }) => [
        path,
        imports.filter(text => text.startsWith('.')).map(text => resolve(dirname(path), text))
      ])
    )
    const state = new Map<string, 'open' | 'done'>()
    const walk = (path: string, trail: readonly string[]): void => {
      if (state.get(path) === 'done') return
      assert.notEqual(state.get(path), 'open', `a circle: ${[...trail, path].map(p => relative(src, p)).join(' → ')}`)
      state.set(path, 'open')
      for (const next of graph.get(path) ?? []) walk(next, [...trail, path])
      state.set(path, 'done')
    }
    for (const path of graph.keys()) walk(path, [])
  })
})
