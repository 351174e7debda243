"""The routes by which Azure Personalizer's clients administer an application."""

from typing import Any, Final

from app.api.azure import Call, Reply, Route
from app.api.personalizer import user_of
from app.messages.personalizer import PolicyConfiguration, ServiceChange
from app.messages.reading import Reader
from app.personalizer.administration import Administration
from app.personalizer.errors import Refusal
from app.personalizer.model import Keeper

__all__ = ["administration_routes"]

_read_service: Final = Reader(ServiceChange)
_read_policy: Final = Reader(PolicyConfiguration)
_BYTES: Final = ((b"content-type", b"application/octet-stream"),)
_NONE: Final[dict[str, list[Any]]] = {"value": []}


def administration_routes(administration: Administration, keeper: Keeper, name: str) -> list[Route]:
    """The routes of configurations and of the model, which is that of the user `name` unless a request names another;
    and honest answers where there is nothing of the kind."""

    async def service(_: Call) -> Reply:
        return Reply(200, await administration.service())

    async def change_service(call: Call) -> Reply:
        return Reply(200, await administration.change_service(_read_service(await call.body())))

    async def policy(_: Call) -> Reply:
        return Reply(200, await administration.policy())

    async def change_policy(call: Call) -> Reply:
        return Reply(200, await administration.change_policy(_read_policy(await call.body())))

    async def reset_policy(_: Call) -> Reply:
        return Reply(200, await administration.change_policy(None))

    return [
        Route("GET", "/configurations/service", "InvalidServiceConfiguration", service),
        Route("PUT", "/configurations/service", "InvalidServiceConfiguration", change_service),
        Route("GET", "/configurations/policy", "InvalidPolicyConfiguration", policy),
        Route("PUT", "/configurations/policy", "InvalidPolicyConfiguration", change_policy),
        Route("DELETE", "/configurations/policy", "InvalidPolicyConfiguration", reset_policy),
        *_model_routes(keeper, name),
        *_lacking(),
    ]


def _model_routes(keeper: Keeper, name: str) -> list[Route]:
    async def export(call: Call) -> Reply:
        return Reply(200, await keeper.export(user_of(call, name)), _BYTES)

    async def restore(call: Call) -> Reply:
        await keeper.restore(user_of(call, name), await call.body())
        return Reply(204)

    async def reset(call: Call) -> Reply:
        await keeper.reset(user_of(call, name))
        return Reply(204)

    async def properties(call: Call) -> Reply:
        return Reply(200, await keeper.properties(user_of(call, name)))

    return [
        Route("GET", "/model", "BadRequest", export),
        Route("PUT", "/model", "InvalidModelImportFormat", restore),
        Route("DELETE", "/model", "BadRequest", reset),
        Route("GET", "/model/properties", "BadRequest", properties),
    ]


def _lacking() -> list[Route]:
    """Routes of things that do not exist here: lists are empty, one of them is not found, and making one is refused."""

    async def none(_: Call) -> Reply:
        return Reply(200, _NONE)

    async def no_range(_: Call) -> Reply:
        return Reply(200, {})

    async def no_evaluation(_: Call) -> Reply:
        raise Refusal("EvaluationNotFound", "there is no such evaluation: nothing makes one here", status=404)

    async def no_importance(_: Call) -> Reply:
        raise Refusal("ResourceNotFound", "there are no feature importances: nothing makes them here", status=404)

    async def no_making(_: Call) -> Reply:
        problem = "evaluations are made of the log of decisions, by the command evaluate"
        raise Refusal("OperationNotAllowed", problem)

    async def no_removal(_: Call) -> Reply:
        raise Refusal("OperationNotAllowed", "the log of decisions is removed by its age, as the setting for it says")

    async def no_inference(_: Call) -> Reply:
        raise Refusal("InvalidApiAccess", "this is for local inference, which this service does not have")

    found = [Route("POST", "/configurations/applyFromEvaluation", "BadRequest", no_evaluation)]
    for path, missing in (("/evaluations", no_evaluation), ("/featureImportances", no_importance)):
        found += [
            Route("GET", path, "BadRequest", none),
            Route("PUT", f"{path}/{{id}}", "BadRequest", no_making),
            Route("GET", f"{path}/{{id}}", "BadRequest", missing),
            Route("DELETE", f"{path}/{{id}}", "BadRequest", missing),
            Route("POST", path, "BadRequest", no_making),  # as the first versions had it
        ]
    found += [
        Route("GET", "/logs/properties", "BadRequest", no_range),
        Route("DELETE", "/logs", "BadRequest", no_removal),
        Route("POST", "/logs/observations", "BadRequest", no_inference),
        Route("POST", "/logs/interactions", "BadRequest", no_inference),
    ]
    return found
