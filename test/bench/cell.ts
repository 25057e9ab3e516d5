import type { StoreName } from './bench-process.ts'
import { KEY_BYTES, type Load, USUAL_LOAD } from './load.ts'
import type { TargetName } from './target.ts'

/** One place of the matrix: what is asked for, how much at once, and of whom. */
export interface Cell {
  readonly load: Load
  readonly inFlight: number
  readonly members: number
  readonly store: StoreName
}

/** A cell where nothing else is said: three processes with three copies of everything in memory. */
export const USUAL_CELL: Cell = { load: USUAL_LOAD, inFlight: 64, members: 3, store: 'memory' }

/** What a cell may be narrowed to; none of something is what is usual. */
export interface CellFilter {
  readonly mixes: readonly Load['mix'][]
  readonly levels: readonly Load['level'][]
  readonly spreads: readonly Load['spread'][]
  readonly values: readonly number[]
  readonly many: readonly number[]
  readonly inFlight: readonly number[]
  readonly members: readonly number[]
  readonly stores: readonly StoreName[]
}

/** All cells that a filter leaves: each of one thing with each of all others. */
export function crossed(filter: CellFilter): readonly Cell[] {
  const or = <T>(given: readonly T[], ...usual: readonly T[]): readonly T[] => (given.length > 0 ? given : usual)
  const cells: Cell[] = []
  for (const store of or(filter.stores, USUAL_CELL.store))
    for (const members of or(filter.members, USUAL_CELL.members))
      for (const mix of or(filter.mixes, 'get', 'put'))
        for (const level of or(filter.levels, USUAL_LOAD.level))
          for (const valueBytes of or(filter.values, USUAL_LOAD.valueBytes))
            for (const spread of or(filter.spreads, USUAL_LOAD.spread))
              for (const many of or(mix === 'getMany' || mix === 'batch' ? filter.many : [], USUAL_LOAD.many))
                for (const inFlight of or(filter.inFlight, USUAL_CELL.inFlight))
                  cells.push({
                    store,
                    members,
                    inFlight,
                    load: { ...USUAL_LOAD, mix, level, valueBytes, spread, many }
                  })
  return cells
}

/** A few of the thousands of cells: those that differ from the usual one in one thing, for gets and puts. */
export function compact(): readonly Cell[] {
  const with_ = (load: Partial<Load>, rest: Partial<Cell> = {}): Cell => ({
    ...USUAL_CELL,
    ...rest,
    load: { ...USUAL_LOAD, ...load }
  })
  const both = (load: Partial<Load>, rest: Partial<Cell> = {}): readonly Cell[] => [
    with_({ mix: 'get', ...load }, rest),
    with_({ mix: 'put', ...load }, rest)
  ]
  return [
    ...[1, 16, 64, 256, 1024].flatMap(inFlight => both({}, { inFlight })),
    with_({ mix: '50/50' }),
    with_({ mix: '95/5' }),
    ...both({ level: 'one' }),
    ...both({ level: 'all' }),
    ...both({ valueBytes: 1024 }),
    ...both({ valueBytes: 65_536 }, { inFlight: 16 }),
    ...both({ spread: 'zipfian' }),
    // As many keys at once as there are operations elsewhere, or some more.
    ...[10, 100].flatMap(many => [
      with_({ mix: 'getMany', many }, { inFlight: 16 }),
      with_({ mix: 'batch', many }, { inFlight: 16 })
    ]),
    ...both({}, { members: 5 }),
    ...both({}, { store: 'os' }),
    with_({ mix: 'put' }, { store: 'fsync' })
  ]
}

/** What an operation of a cell is compared with: what answers alone with the database, others with bare frames. */
export function limitOf({ load }: Cell): TargetName {
  return load.level === 'one' ? 'database' : 'frames'
}

/** A cell in a word or two: what of it is unusual. */
export function cellName({ load, inFlight, members, store }: Cell): string {
  const { mix, level, valueBytes, spread, many } = load
  return [
    mix === 'getMany' || mix === 'batch' ? `${mix} of ${many}` : mix,
    level,
    `${inFlight} in flight`,
    ...(valueBytes === USUAL_LOAD.valueBytes ? [] : [sizeName(valueBytes)]),
    ...(spread === USUAL_LOAD.spread ? [] : [spread]),
    ...(members === USUAL_CELL.members ? [] : [`3 of ${members}`]),
    ...(store === 'memory' ? [] : [`disk, ${store}`])
  ].join(', ')
}

function sizeName(bytes: number): string {
  return bytes % 1024 === 0 ? `${bytes / 1024} KiB` : `${bytes} B`
}

/** Bytes of an operation's key and value, the least that it is about. */
export function payloadBytes({ load }: Cell): number {
  return KEY_BYTES + load.valueBytes
}
