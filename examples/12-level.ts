// A keyspace as a Level database: what is written against abstract-level runs on the cluster as it is.
import { createNode } from 'kilovolt'
import { KilovoltLevel } from 'kilovolt/level'

const first = await createNode()
const second = await createNode({ bootstrap: first.addresses })

interface Book {
  readonly title: string
  readonly year: number
}

const books = new KilovoltLevel<string, Book>(first, { keyspace: 'books', valueEncoding: 'json' })
await books.batch([
  { type: 'put', key: 'austen', value: { title: 'Emma', year: 1815 } },
  { type: 'put', key: 'melville', value: { title: 'Moby-Dick', year: 1851 } },
  { type: 'put', key: 'woolf', value: { title: 'Orlando', year: 1928 }, ttl: 60_000 }
])

// The same data, seen from another node.
const elsewhere = new KilovoltLevel<string, Book>(second, { keyspace: 'books', valueEncoding: 'json' })
console.log('get     ', (await elsewhere.get('melville'))?.title)
for await (const [author, { title }] of elsewhere.iterator({ reverse: true, lt: 'w' }))
  console.log('entry   ', author, title)

// Sublevels are Level's own. Of the keys that `elsewhere` has, those of sublevels come first: they begin with '!'.
const years = elsewhere.sublevel('years')
await years.put('1851', 'melville')
console.log('years   ', await years.keys().all())
await books.clear({ gte: 'm' })
console.log('left    ', await elsewhere.keys({ gte: 'a' }).all())

await second.stop()
await first.stop()
