// Carts that lose nothing: two nodes write to one key without having seen each other, and a counter that all add to.
import { createNode, PnCounter, type PnCounts, resolvers } from 'kilovolt'

const first = await createNode()
const second = await createNode({ bootstrap: first.addresses })
await first.settled()

type Cart = Record<string, number>

// By hand: all siblings, and a context that says which of them a put has seen.
const here = first.keyspace<Cart>('carts', { conflicts: 'siblings' })
const there = second.keyspace<Cart>('carts', { conflicts: 'siblings' })
await Promise.all([here.put('ada', { tea: 1 }), there.put('ada', { milk: 2 })])
const entry = await here.getEntry('ada')
console.log('siblings', entry?.siblings?.length)
const merged = Object.assign({}, ...entry!.siblings!) as Cart
await here.put('ada', merged, { context: entry!.context! })
console.log('merged  ', Object.keys((await there.get('ada'))!).toSorted())

// By a resolver: whoever reads sees one value.
const conflicts = (carts: readonly Cart[]): Cart => resolvers.deepMerge(carts)
const resolved = [first, second].map(node => node.keyspace<Cart>('resolved', { conflicts }))
await Promise.all([resolved[0]!.put('bob', { bread: 1 }), resolved[1]!.put('bob', { jam: 1 })])
console.log('resolved', await resolved[0]!.get('bob'))

// Counters: each node counts for itself, and the sum is true.
const counters = [first, second].map(
  node => new PnCounter(node.keyspace<PnCounts>('likes', { conflicts: resolvers.pnCounter }), 'post')
)
await Promise.all(counters.map(counter => counter.add(50)))
await counters[0]!.add(-1)
console.log('likes   ', await counters[1]!.value())

await second.stop()
await first.stop()
