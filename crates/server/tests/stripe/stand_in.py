"""Stripe's API for tests: localstripe, with the pages that it lacks.

localstripe keeps customers, payment methods, invoices and subscriptions and sends signed
notifications. Stripe's own pages for payment and management are added here, as far as a customer
uses them; they act on localstripe's objects.

Prints a line of JSON when it listens: where the API is, and where the pages are.
"""

import asyncio
import json
import sys

from aiohttp import web
from localstripe import resources, server
from localstripe.resources import Customer, PaymentMethod, Plan, Product, Subscription

# Nothing outlives the test.
resources.store.dump_to_disk = lambda: None

CARDS = {"good": "4242424242424242", "declined": "4000000000000341"}
sessions = {}
pages_address = None


def leads_to(path):
    return server.json_response({"url": f"{pages_address}{path}"})


async def price(request):
    plan = Plan._api_retrieve(request.match_info["id"])
    return server.json_response({
        "id": plan.id,
        "unit_amount": plan.amount,
        "currency": plan.currency,
        "recurring": {"interval": plan.interval, "interval_count": plan.interval_count},
    })


async def new_checkout(request):
    form = await server.get_post_data(request)
    Customer._api_retrieve(form["customer"])
    assert form["mode"] == "subscription" and form["line_items"][0]["quantity"] == "1"
    name = f"cs_{len(sessions) + 1}"
    sessions[name] = form
    return leads_to(f"/pay/{name}")


async def pay_page(request):
    plan = Plan._api_retrieve(sessions[request.match_info["name"]]["line_items"][0]["price"])
    return web.Response(content_type="text/html", text=f"""<!doctype html><title>Pay</title>
<h1>{plan.amount / 100:.2f} {plan.currency}</h1>
<form method="post"><button name="card" value="good">Pay</button>
<button name="card" value="declined">Pay with a bad card</button></form>""")


async def pay(request):
    session = sessions[request.match_info["name"]]
    form = await request.post()
    card = {"number": CARDS[form["card"]], "exp_month": "12", "exp_year": "2040", "cvc": "123"}
    method = PaymentMethod._api_create(type="card", card=card)
    customer = session["customer"]
    PaymentMethod._api_attach(method.id, customer=customer)
    Customer._api_update(customer, invoice_settings={"default_payment_method": method.id})
    plan = session["line_items"][0]["price"]
    Subscription._api_create(customer=customer, items=[{"plan": plan}])
    raise web.HTTPSeeOther(session["success_url"])


async def new_portal(request):
    form = await server.get_post_data(request)
    Customer._api_retrieve(form["customer"])
    sessions[form["customer"]] = form
    return leads_to(f"/manage/{form['customer']}")


async def manage_page(_request):
    return web.Response(content_type="text/html", text="""<!doctype html><title>Manage</title>
<form method="post"><button name="what" value="now">Cancel now</button>
<button name="what" value="later">Cancel at the end</button></form>""")


async def manage(request):
    customer = request.match_info["customer"]
    what = (await request.post())["what"]
    for subscription in Subscription._api_list_all(None, customer=customer)._list:
        if what == "now":
            Subscription._api_delete(subscription.id)
        else:
            Subscription._api_update(subscription.id, cancel_at_period_end=True)
    raise web.HTTPSeeOther(sessions[customer]["return_url"])


async def listen(app):
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    return f"http://{host}:{port}"


async def main():
    global pages_address
    server.app.router.add_get("/v1/prices/{id}", price)
    server.app.router.add_post("/v1/checkout/sessions", new_checkout)
    server.app.router.add_post("/v1/billing_portal/sessions", new_portal)
    pages = web.Application()
    pages.router.add_get("/pay/{name}", pay_page)
    pages.router.add_post("/pay/{name}", pay)
    pages.router.add_get("/manage/{customer}", manage_page)
    pages.router.add_post("/manage/{customer}", manage)

    product = Product(name="Live patches", type="service")
    Plan(id="price_1", product=product.id, amount=1200, currency="usd", interval="month")
    pages_address = await listen(pages)
    api = await listen(server.app)
    print(json.dumps({"api": api, "pages": pages_address}), flush=True)
    # The test closes this program's input when it is over.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
