// Records found by what is in them: equality, ranges and several values, over two nodes.
import { createNode, type Node } from 'kilovolt'

interface Book {
  title: string
  author: string
  year: number
  subjects: string[]
}

// Every process of the app opens the keyspace with the same indexes.
const open = (node: Node) =>
  node.keyspace('books', {
    indexes: {
      byAuthor: (book: Book) => book.author.toLowerCase(),
      byYear: (book: Book) => book.year,
      bySubject: (book: Book) => book.subjects
    }
  })

const first = await createNode()
const second = await createNode({ bootstrap: first.addresses })
const [books, same] = [open(first), open(second)]
await first.settled()

await books.put('emma', { title: 'Emma', author: 'Austen', year: 1815, subjects: ['england', 'love'] })
await books.put('moby', { title: 'Moby-Dick', author: 'Melville', year: 1851, subjects: ['sea', 'whales'] })
await books.put('typee', { title: 'Typee', author: 'Melville', year: 1846, subjects: ['sea'] })
await books.put('persuasion', { title: 'Persuasion', author: 'Austen', year: 1817, subjects: ['sea', 'love'] })

for await (const { key, value } of same.query('byAuthor', { equals: 'melville' })) console.log(key, value.year)

const titles = async (query: ReturnType<typeof same.query>): Promise<string[]> =>
  (await query.all()).map(({ value }) => value.title)
console.log('forties', await titles(same.query('byYear', { gte: 1840, lt: 1850 })))
console.log('newest ', await titles(same.query('byYear', { reverse: true, limit: 1 })))
console.log('at sea ', await titles(same.query('bySubject', { equals: 'sea' })))

// What changes is found by what it is now.
await books.update('typee', book => ({ ...book!, subjects: ['islands'] }))
await books.delete('moby')
console.log('at sea ', await titles(books.query('bySubject', { equals: 'sea' })))
console.log(
  'indexes',
  first
    .status()
    .indexes.map(({ index, state }) => `${index} ${state}`)
    .join(', ')
)

await Promise.all([first.stop(), second.stop()])
